"""How every part connects to PostgreSQL: sessions with known settings, and an end to those that do not answer."""

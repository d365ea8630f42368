"""The read side: GET routes over the read tables, answered with the bytes that PostgreSQL built."""

"""Event triggers as hosting providers have them."""


def for_each_new_table(name: str, statement: str) -> bytes:
    """An event trigger that runs the statement, with %s for the table's name, for each table that is made."""
    return f"""
CREATE FUNCTION public.{name}() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE made record; BEGIN
    FOR made IN SELECT * FROM pg_event_trigger_ddl_commands() WHERE command_tag = 'CREATE TABLE' LOOP
        EXECUTE format('{statement}', made.object_identity);
    END LOOP; END $$;
CREATE EVENT TRIGGER {name} ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION public.{name}()
""".encode()


SECURE = for_each_new_table("secure", "ALTER TABLE %1$s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
TO_CDC = for_each_new_table("to_cdc", "ALTER PUBLICATION cdc ADD TABLE %s")

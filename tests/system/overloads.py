"""Functions and operators in `public` that fit better than PostgreSQL's own, and fail when they are called.

A function or an operator whose argument types are exactly those of a call wins over one of `pg_catalog` that takes
other types, wherever it stands in the search path.
"""

import re
from pathlib import Path

import psycopg

_TYPES = """text name varchar bpchar int2 int4 int8 numeric float8 uuid oid regclass regnamespace regproc regrole xid
    bytea "char" bool timestamptz timestamp date interval json jsonb pg_lsn text[] name[] int2[] int4[] int8[] oid[]
    uuid[] bytea[] timestamptz[] bool[] int2vector oidvector"""
_USUAL = 'text name int4 int8 oid regclass regnamespace "char" uuid timestamptz json jsonb text[]'
_OPERANDS = "text varchar bpchar int4 int8 numeric bool uuid json jsonb date timestamptz"
_OPERATORS = "= <> < > <= >= || + - * / % ~ ~~ !~~ -> ->> @> <@ && ?"
_CALL = re.compile(r"\b([a-z][a-z0-9_]+)\(")
_ROOT = Path(__file__).parents[2]
_PRODUCTION = "access command console database eventlog feed migrations projector query readmodel service timeline"

_MAKE = """
CREATE FUNCTION pg_temp.make(name text, types text[]) RETURNS void LANGUAGE plpgsql AS $make$
BEGIN
    IF to_regprocedure(format('pg_catalog.%I(%s)', name, array_to_string(types, ','))) IS NULL THEN
        EXECUTE format($$CREATE FUNCTION public.%I(%s) RETURNS text LANGUAGE plpgsql AS
            'BEGIN RAISE EXCEPTION ''public.%s was called''; END'$$, name, array_to_string(types, ','), name);
    END IF;
END $make$;
"""
_FUNCTIONS = """
SELECT pg_temp.make(name, ARRAY[a]) FROM unnest(%(names)s::text[]) AS name, unnest(%(types)s::text[]) AS a
WHERE EXISTS (SELECT FROM pg_proc WHERE proname = name AND pronamespace = 'pg_catalog'::regnamespace
    AND (pronargs = 1 OR provariadic <> 0))
UNION ALL
SELECT pg_temp.make(name, ARRAY[a, b])
FROM unnest(%(names)s::text[]) AS name, unnest(%(usual)s::text[]) AS a, unnest(%(usual)s::text[]) AS b
WHERE EXISTS (SELECT FROM pg_proc WHERE proname = name AND pronamespace = 'pg_catalog'::regnamespace
    AND (pronargs = 2 OR provariadic <> 0))
UNION ALL
SELECT pg_temp.make('format', ARRAY['text', a, b]) FROM unnest(%(usual)s::text[]) AS a, unnest(%(usual)s::text[]) AS b
"""
# Only || also where PostgreSQL's own takes the types: nobody adds another operator for types that have one.
_MAKE_OPERATORS = """
DO $make$
DECLARE a text; b text; operator text;
BEGIN
    FOREACH a IN ARRAY '{%(types)s}'::text[] LOOP FOREACH b IN ARRAY '{%(types)s}'::text[] LOOP
        EXECUTE format($$CREATE FUNCTION public.better(%%s, %%s) RETURNS bool LANGUAGE plpgsql AS
            'BEGIN RAISE EXCEPTION ''an operator of public was called''; END'$$, a, b);
        FOREACH operator IN ARRAY '{%(operators)s}'::text[] LOOP
            BEGIN
                EXECUTE format('PREPARE served AS SELECT NULL::%%s %%s NULL::%%s', a, operator, b);
                DEALLOCATE served;
                CONTINUE WHEN operator <> '||' OR to_regoperator(format('pg_catalog.||(%%s,%%s)', a, b)) IS NOT NULL;
            EXCEPTION WHEN undefined_function OR ambiguous_function THEN
            END;
            EXECUTE format('CREATE OPERATOR public.%%s (LEFTARG = %%s, RIGHTARG = %%s, FUNCTION = public.better)',
                operator, a, b);
        END LOOP;
    END LOOP; END LOOP;
END $make$
"""


def _called() -> list[str]:
    """Every word that production code may call as a function of PostgreSQL."""
    files = [file for folder in _PRODUCTION.split() for file in (_ROOT / folder).rglob("*.py")]
    return sorted({name for file in files for name in _CALL.findall(file.read_text())})


def add_overloads(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET search_path = pg_catalog")
        connection.execute(_MAKE)
        connection.execute(_FUNCTIONS, {"names": _called(), "types": _TYPES.split(), "usual": _USUAL.split()})
        listed = {"types": ",".join(_OPERANDS.split()), "operators": ",".join(_OPERATORS.split())}
        connection.execute((_MAKE_OPERATORS % listed).encode())

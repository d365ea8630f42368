"""The command `orders`. A module of its own, so that it can say when another project's package hides one of ours."""

import sys
from importlib.metadata import packages_distributions

_NO_MEMORY = "orders: the memory that this process may take does not suffice: raise ulimit -v, or the container's limit"


def main() -> None:
    """Run the command line.

    Ends with one line where another project has installed a package with a name of ours, or memory is too little.
    """
    try:
        from service.cli import main as run

        run()
    except MemoryError:
        sys.exit(_NO_MEMORY)
    except ImportError as error:
        if "failed to map segment" in str(error):  # of a library: the loader's words
            sys.exit(_NO_MEMORY)
        for package, projects in packages_distributions().items():
            if "orders" in projects and len(others := set(projects)) > 1:
                sys.exit(
                    f"orders: {', '.join(sorted(others - {'orders'}))} has installed another package {package} here: "
                    "install orders into a virtual environment of its own"
                )
        raise


if __name__ == "__main__":
    main()

"""The command `orders`. A module of its own, so that it can say when another project's package hides one of ours."""

import sys
from importlib.metadata import packages_distributions


def main() -> None:
    """Run the command line. Ends with one line where another project has installed a package with a name of ours."""
    try:
        from service.cli import main as run

        run()
    except ImportError:
        for package, projects in packages_distributions().items():
            if "orders" in projects and len(others := set(projects)) > 1:
                sys.exit(
                    f"orders: {', '.join(sorted(others - {'orders'}))} has installed another package {package} here: "
                    "install orders into a virtual environment of its own"
                )
        raise


if __name__ == "__main__":
    main()

"""The command `orders`. A module of its own, so that it can say when another project's package hides one of ours."""

import sys
from importlib.metadata import packages_distributions


def main() -> None:
    """Run the command line. Ends with one line where another project has installed a package with a name of ours."""
    try:
        from service.cli import main as run

        run()
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        others = sorted(set(packages_distributions().get(package, ())) - {"orders"})
        if not others:
            raise
        sys.exit(
            f"orders: {', '.join(others)} has installed another package {package} here: "
            "install orders into a virtual environment of its own"
        )


if __name__ == "__main__":
    main()

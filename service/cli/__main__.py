"""`python -m service.cli` is `orders`: how a supervisor starts its children without looking for a script."""

from orders import main

main()

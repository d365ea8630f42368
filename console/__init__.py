"""The console: pages in the browser for operators. They read everything, and change nothing by themselves."""

"""The pages, one file each: a plain function from the desk and a request to an answer."""

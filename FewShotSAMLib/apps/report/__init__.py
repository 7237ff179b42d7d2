"""What is told of a result: a page with pictures, and its figures."""

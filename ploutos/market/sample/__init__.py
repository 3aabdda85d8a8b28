"""The data sets that travel with the package, and the script that built them."""

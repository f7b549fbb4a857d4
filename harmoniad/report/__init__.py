"""Heat maps, plots and the HTML report."""

"""The model as a web service, with a page on which people review what it flagged."""

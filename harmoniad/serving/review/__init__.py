"""Images that wait for a person's word, what was said of them, and the page for it."""

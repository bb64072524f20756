"""The formats in which stages hand results to each other, one module per format."""

"""What do the stored results say? Tables, figures and the report; only reads the store."""

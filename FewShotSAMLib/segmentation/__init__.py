"""From prompts to masks, from masks to volumes."""

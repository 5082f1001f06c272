"""A GPT by hand, one concept a file: each is built in a lesson, 04 to 12, and imported by the ones after it."""

"""The report on a change, in Markdown, as a pull request shows it."""

"""Templating: templates, versions, layouts and locales; renders in batches."""

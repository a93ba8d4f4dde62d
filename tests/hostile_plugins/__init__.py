"""Plugins that do harm: each module is one, in the way its name says."""

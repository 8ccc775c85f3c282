"""The book of recipes: template, objective and settings of a training as frozen data."""

"""The engine: recipe tables in, trained models and a report with statistics out (`python -m recipes --help`)."""

"""Teachers: who is asked for question–thinking–solution–answer records, and how their replies are kept."""

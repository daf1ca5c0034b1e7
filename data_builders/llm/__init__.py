"""Teachers: who is asked for question–thinking–solution–answer records, and how their replies are kept."""

REPLIES = ".replies.sqlite"  # the file of kept replies in a data artefact

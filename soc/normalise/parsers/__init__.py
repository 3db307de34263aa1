"""One module per dataset; being in this folder is what makes it a parser (see `soc.normalise.parser`)."""

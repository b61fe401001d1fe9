"""One folder per professional field; one file per dataset, with its reader, prompts, split rule, scorer and floor."""

"""The one kind of error that is the user's to mend: what the commands and the panel catch, and nothing else."""


class UserError(ValueError):
    """What was asked for can not be done. The message is one sentence for the user: what is wrong and what to do."""

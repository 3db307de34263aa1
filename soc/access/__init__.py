"""Who may do and see what: agencies, users, roles, sessions, tokens, sources, audit."""

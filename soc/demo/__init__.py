"""The demonstration: two invented agencies, some days of their past and what goes on now, with planted attacks whose truth is known."""

"""What schemathesis is told in its own process, where it loads this file."""

import schemathesis


@schemathesis.hook
def filter_path_parameters(_context, path_parameters: dict) -> bool:
    """Leaves out line ends: the engine's `*` in an authorizer's policy does not hold them, so it answers with 403."""
    return not any("\n" in str(value) for value in (path_parameters or {}).values())

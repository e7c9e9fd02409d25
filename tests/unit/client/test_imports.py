"""What importing the client brings along."""

import subprocess
import sys


def test_the_client_does_not_import_the_server() -> None:
    """Programs that use the library need none of the server's dependencies."""
    program = (
        "import lockstream, lockstream.sync, sys; print([name for name in sys.modules if 'lockstream_server' in name])"
    )
    printed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=30)
    assert printed.stdout == "[]\n"

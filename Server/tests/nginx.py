"""A real nginx with the configuration that a page of the documentation prints."""

import contextlib
import os
import shutil
import socket
import subprocess
import time

PROGRAM = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def filled_in(text, changes, page):
    """A configuration as it is printed, with what is of this machine in it."""
    for printed, here in changes.items():
        assert text.count(printed) == 1, f"{printed} is not in {page} any more"
        text = text.replace(printed, here)
    return text


def write_certificate(authority, name, folder):
    """Issue a server's certificate; writes it and its key into `pem` and `key`."""
    certificate = authority.issue_cert(name)
    certificate.private_key_pem.write_to_path(folder / "key")
    certificate.cert_chain_pems[0].write_to_path(folder / "pem")


@contextlib.contextmanager
def running_nginx(folder, server, port):
    """Run nginx with some server blocks, meanwhile; everything it writes lies in a folder."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    own = "access_log off;\n" + "".join(f"{kind}_temp_path {folder / kind};\n" for kind in kinds)
    user = "user root;\n" if os.getuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user}daemon off;\npid {folder / 'pid'};\nevents {{}}\nhttp {{\n{own}{server}}}\n"
    )
    process = subprocess.Popen([PROGRAM, "-e", folder / "errors", "-c", folder / "nginx.conf", "-p", folder])
    try:
        end = time.monotonic() + 20
        while True:
            with socket.socket() as place:
                if place.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, (folder / "errors").read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(20)

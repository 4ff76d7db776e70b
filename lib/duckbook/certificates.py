"""Certificates for mutual TLS between the parts of the embedded object store, made once, for its owner alone.

One authority signs one certificate, which every part presents as server and as client. The authority's key is thrown
away when it has signed, so that nobody can make another certificate that the parts trust.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from duckbook.processes import LOOPBACK, write_private

AUTHORITY, CERTIFICATE, KEY = "authority.pem", "certificate.pem", "key.pem"

VALID = datetime(2000, 1, 1), datetime(2999, 12, 31)
"""A machine with a wrong clock must reach its own store, and nothing outside of it trusts this authority."""


def ensure(folder: Path) -> None:
    """Make the three files of a folder where one is missing."""
    if all((folder / name).is_file() for name in (AUTHORITY, CERTIFICATE, KEY)):
        return
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    folder.mkdir(mode=0o700, exist_ok=True)
    signing, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority_name, name = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in ("duckbook authority", "duckbook")
    )

    def signed(subject: x509.Name, public: ec.EllipticCurvePublicKey, *extensions: x509.ExtensionType) -> bytes:
        made = x509.CertificateBuilder(authority_name, subject, public, x509.random_serial_number(), *VALID)
        for extension in extensions:
            made = made.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return made.sign(signing, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    texts = {
        AUTHORITY: signed(authority_name, signing.public_key(), x509.BasicConstraints(ca=True, path_length=0)),
        CERTIFICATE: signed(
            name, key.public_key(), x509.SubjectAlternativeName([x509.IPAddress(ip_address(LOOPBACK))]), usage
        ),
        KEY: private,
    }
    # The key last of all that is looked for, so that a start that is killed makes all three again.
    for file, content in texts.items():
        write_private(folder / file, content.decode())

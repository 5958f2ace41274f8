"""Certificate files for tests, each signed by itself, and so its own authority."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


def write_certificate(
    certificate: Path, key: Path, *names: str, days: int = 90, started: int = 1
) -> None:
    """Write a certificate for host names, ending in so many days, and its key.

    Both may be one file.
    """
    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    moment = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - timedelta(days=started))
        .not_valid_after(moment + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), critical=False
        )
        .sign(secret, hashes.SHA256())
    )
    secret_text = secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    text = made.public_bytes(Encoding.PEM)
    if certificate == key:
        certificate.write_bytes(text + secret_text)
    else:
        certificate.write_bytes(text)
        key.write_bytes(secret_text)

"""`serve` and `join` over TLS, with certificates of an authority made here."""

import datetime
import ipaddress
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from retention.errors import Refused
from retention.federation import process
from tests.retention.federation.test_federation import FEATURES, central, free_address, rows

pytestmark = [
    pytest.mark.federate,
    pytest.mark.skipif(not process.PYTHON.exists(), reason="needs make test-federate"),
]
DAY = datetime.timedelta(days=1)


def certified(name, issuer=None):
    """Return a key and its certificate for this machine; an authority without an issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer, by = issuer or (key, None)
    now = datetime.datetime.now(datetime.UTC)
    own = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(own), critical=False)
        .sign(signer, hashes.SHA256())
    )
    return key, certificate


def pem(path, one):
    """Write a certificate or key."""
    if isinstance(one, x509.Certificate):
        path.write_bytes(one.public_bytes(serialization.Encoding.PEM))
    else:
        kind = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        path.write_bytes(one.private_bytes(serialization.Encoding.PEM, *kind))
    return path


def test_desks_train_over_tls_and_one_with_another_authority_cannot_join(tmp_path):
    authority, stranger = certified("desks"), certified("stranger")
    key, certificate = certified("server", authority)
    ca, other = pem(tmp_path / "ca.pem", authority[1]), pem(tmp_path / "other.pem", stranger[1])
    server = [ca, pem(tmp_path / "server.pem", certificate), pem(tmp_path / "server.key", key)]
    (tmp_path / "word").write_text("s" * 32)
    address, desks = free_address(), [rows(number, 300) for number in range(4)]

    def plan(certificates):
        return process.shared_plan(address, tmp_path / "word", certificates, FEATURES, 20)

    def join(number, authority):
        X, y = desks[number]
        own = {"X": X, "y": y, "customer": np.arange(len(y))}
        return process.join(plan([authority]), own, lambda terms: None)

    with ThreadPoolExecutor(5) as pool:
        serving = pool.submit(process.serve, plan(server), 3)
        joining = [pool.submit(join, number, ca) for number in range(3)]
        outside = pool.submit(join, 3, other)
        assert serving.result(timeout=120)["desks"] == 3
        for joined in joining:
            weights = np.array(joined.result(timeout=60)["weights"])
            assert np.abs(weights - central(desks[:3])).max() < 1e-6
        with pytest.raises(Refused):
            outside.result(timeout=60)

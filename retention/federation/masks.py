"""Hide each desk's vector by masks that cancel in the sum of all desks.

flwr's own SecAgg+ is not used: 1.42 seeds its masks with 32 bits (`pseudo_rand_gen`), which a
server can try out. These come from X25519 and ChaCha20. The idea: Bonawitz et al. (2017), Practical
Secure Aggregation for Privacy-Preserving Machine Learning. If a desk vanishes, the others repeat
the round with new masks.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

UNIT = 2.0**40  # steps of a masked number in 1
LARGEST = 2.0**20  # of one desk; the sum of 2**3 desks and more stays below 2**63 / UNIT


def whole(vector: np.ndarray) -> np.ndarray:
    """Return the vector in units."""
    if not np.isfinite(vector).all() or np.abs(vector).max() > LARGEST:
        raise ValueError("not_finite")
    return np.round(vector * UNIT).astype(np.int64)


def masked(
    numbers: np.ndarray, key: X25519PrivateKey, peers: Mapping[str, str], attempt: int
) -> np.ndarray:
    """Return whole numbers modulo 2**64, hidden from everyone.

    `peers`: public keys in hex of all desks of the round, by name; one is this desk's own.
    `attempt`: never used twice with one key, else a difference of two vectors would show.
    """
    own = key.public_key().public_bytes_raw().hex()
    total = numbers.view(np.uint64)
    context = json.dumps([attempt, sorted(peers.items())]).encode()
    for other in sorted(peers.values()):
        if other != own:
            shared = key.exchange(X25519PublicKey.from_public_bytes(bytes.fromhex(other)))
            mask = _stream(hashlib.sha256(shared + context).digest(), len(numbers))
            total = total + mask if own < other else total - mask
    return total


def unmasked(vectors: Iterable[np.ndarray]) -> np.ndarray:
    """Return the sum of the whole numbers of all desks of a round."""
    return np.asarray(np.sum(list(vectors), axis=0, dtype=np.uint64).view(np.int64))


def _stream(seed: bytes, size: int) -> np.ndarray:
    cipher = Cipher(algorithms.ChaCha20(seed, bytes(16)), mode=None).encryptor()
    return np.frombuffer(cipher.update(bytes(8 * size)), dtype="<u8").astype(np.uint64)

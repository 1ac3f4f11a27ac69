"""Find the known items that new items resemble, by text and by picture."""

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix

from retention.pictures.store import FEATURES, vectors_of
from retention.recommend.catalogue import Catalogue
from retention.recommend.matrices import ones_at
from retention.recommend.models.neighbours import text_vectoriser
from retention.recommend.ranking.features import Interactions

if TYPE_CHECKING:
    from retention.lake import Lake

NEAREST = 10  # similar known items of each new one
MIN_SIMILARITY = 0.2  # cosine; below, texts only share a few letters
AT_ONCE = 256  # new items whose similarities are dense
COLOUR = 0.5  # weight of colours, against 1 of shapes and patterns
# How much a picture counts against the text, learned from known items that play new ones.
WEIGHTS = (0.5, 1.0, 2.0, 4.0)
HELD_OUT, MAX_HELD_OUT, MAX_CUSTOMERS = 0.3, 600, 3_000  # share of items; items; customers
MIN_ITEMS, PLACES, CERTAIN = 40, 10, 2.0  # known items; of a list; standard errors
SEED = 0


def text_similarity(known: np.ndarray, new_ids: np.ndarray, items: Catalogue) -> csr_matrix:
    """Return the known items most similar to new ones, as (known × new).

    Similarity is the cosine of TF-IDF of character n-grams. `models.content` uses the same texts.
    """
    empty = csr_matrix((len(known), len(new_ids)), dtype=np.float32)
    if not len(new_ids) or not len(known):
        return empty
    vectoriser = text_vectoriser()
    try:
        new_texts = csr_matrix(
            vectoriser.fit_transform(text.casefold() for text in items.texts_of(new_ids))
        )
    except ValueError:  # no texts
        return empty
    # many items share a text: each is compared once
    known_texts = [text.casefold() for text in items.texts_of(known)]
    texts, place = np.unique(np.array(known_texts, dtype=object), return_inverse=True)
    by_text = csr_matrix(new_texts @ csr_matrix(vectoriser.transform(texts)).T)  # new × texts
    by_text.data[by_text.data < MIN_SIMILARITY] = 0
    by_text.eliminate_zeros()
    items_of_texts = ones_at(place, np.arange(len(known)), (len(texts), len(known)))
    return _nearest(csr_matrix(by_text @ items_of_texts))


def _nearest(similarity: csr_matrix) -> csr_matrix:
    """Keep the nearest known items of each new one; (new × known) becomes (known × new)."""
    similarity.sort_indices()  # equally similar items in their own order
    row = np.repeat(np.arange(similarity.shape[0]), np.diff(similarity.indptr))
    order = np.lexsort((-similarity.data, row))
    nearest = order[np.arange(similarity.nnz) - similarity.indptr[row] < NEAREST]
    entries = similarity.data[nearest], (similarity.indices[nearest], row[nearest])
    return csr_matrix(entries, shape=similarity.shape[::-1])


def picture_similarity(known: np.ndarray, new: np.ndarray) -> csr_matrix:
    """Return the known items that look most like new ones, as (known × new).

    Similarity is the mean of two cosines, of the model's features and of colours. The mean of the
    known items is taken off first: all pictures of a shop have much in common.

    `known`, `new`: vectors of `retention.pictures.store`; NaN without a picture.
    """
    has_known, has_new = (np.flatnonzero(~np.isnan(each[:, 0])) for each in (known, new))
    shape = (len(new), len(known))
    if not len(has_known) or not len(has_new):
        return csr_matrix(shape[::-1], dtype=np.float32)
    mean = known[has_known].mean(axis=0)
    columns = _parts(known[has_known] - mean)
    entries = []
    for start in range(0, len(has_new), AT_ONCE):
        rows = has_new[start : start + AT_ONCE]
        alike = _parts(new[rows] - mean) @ columns.T
        row, column = np.nonzero(alike >= MIN_SIMILARITY)
        entries.append((alike[row, column], rows[row], has_known[column]))
    data, row, column = map(np.concatenate, zip(*entries, strict=True))
    return _nearest(csr_matrix((data, (row, column)), shape=shape))


def _parts(vectors: np.ndarray) -> np.ndarray:
    """Scale both parts of vectors so that their product is the weighted mean of two cosines."""
    features, colours = _unit(vectors[:, :FEATURES]), _unit(vectors[:, FEATURES:])
    return np.hstack([features, np.sqrt(COLOUR) * colours]) / np.sqrt(1 + COLOUR)


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1))


def looks_of(
    lake: "Lake", new_ids: np.ndarray, interactions: Interactions, items: Catalogue
) -> csr_matrix:
    """Return what pictures add to `text_similarity`. Empty where they do not help in this shop.

    `interactions`: nothing after its moment is read. Pictures are those of today, like titles.
    """
    known_ids = interactions.item_stats.items
    known, new = vectors_of(lake, known_ids), vectors_of(lake, new_ids)
    weight = picture_weight(known, interactions, items)
    return picture_similarity(known, new) * np.float32(weight)


def picture_weight(vectors: np.ndarray, interactions: Interactions, items: Catalogue) -> float:
    """Learn how much pictures count; 0 unless they surely help to find who buys an item.

    Some known items play new ones: their buyers get lists by text, and by text and picture. One
    half of these items chooses the weight, the other half confirms it.
    """
    ids, liked = interactions.item_stats.items, interactions.liked
    if len(ids) < MIN_ITEMS or np.isnan(vectors[:, 0]).all():
        return 0.0
    rng = np.random.default_rng(SEED)
    shuffled = rng.permutation(len(ids))
    count = min(int(HELD_OUT * len(ids)), MAX_HELD_OUT)
    held, rest = shuffled[:count], np.sort(shuffled[count:])
    own, sold = csr_matrix(liked[:, rest]), csr_matrix(liked[:, held])
    rows = np.flatnonzero((np.diff(own.indptr) > 0) & (np.diff(sold.indptr) > 0))
    rows = np.sort(rng.permutation(rows)[:MAX_CUSTOMERS])
    own, is_sold = own[rows], sold[rows].toarray() > 0
    by_text = (own @ text_similarity(ids[rest], ids[held], items)).toarray()
    by_look = (own @ picture_similarity(vectors[rest], vectors[held])).toarray()
    buyers = is_sold.sum(axis=0)
    ties = rng.random(by_text.shape) * 1e-9
    is_even = np.arange(count) % 2 == 0
    chooses, confirms = (half & (buyers > 0) for half in (is_even, ~is_even))

    def found(weight: float) -> np.ndarray:
        """Return the share of each item's buyers on whose list it is.

        Items without a score fill the lists at random: else any score would seem better than none.
        """
        order = np.argsort(-(by_text + weight * by_look + ties), axis=1)[:, :PLACES]
        is_listed = np.zeros_like(is_sold)
        np.put_along_axis(is_listed, order, True, axis=1)
        return np.asarray((is_listed & is_sold).sum(axis=0) / np.maximum(buyers, 1))

    text_only = found(0.0)
    gains = {weight: found(weight) - text_only for weight in WEIGHTS}
    best = max(WEIGHTS, key=lambda weight: gains[weight][chooses].mean() if chooses.any() else 0.0)
    confirmed = gains[best][confirms]
    if len(confirmed) < 2:
        return 0.0
    error = confirmed.std(ddof=1) / np.sqrt(len(confirmed))
    return best if confirmed.mean() > CERTAIN * error else 0.0

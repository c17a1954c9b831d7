"""What the tests of every search engine share: small documents with sparse vectors, and the answers by hand."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from sembridge.deployment.search.protocol import Engine, SparseVector, rows
from sembridge.retrieval.corpus import Document

N_DIMS = 300
LANGUAGES = ("ko", "zh", "ru")


def documents(n: int, *, start: int = 0) -> list[Document]:
    """Documents whose fields hold a text, a number, a truth, a list and an object."""
    return [
        Document(
            f"d{i:04d}",
            f"제목 {i}",
            f'text {i} with "quotes", a \\ and a {{brace}}',
            {
                "lang": LANGUAGES[i % 3],
                "year": 2000 + i % 5,
                "open": i % 2 == 0,
                "tags": ["a", f"b{i % 4}"],
                "x": {"y": i},
            },
        )
        for i in range(start, start + n)
    ]


def vectors(n: int, *, seed: int = 0, n_active: int = 20) -> csr_array:
    """(n, N_DIMS) float32 with `n_active` active dimensions a row, some of them far more common than others."""
    generator = np.random.default_rng(seed)
    popularity = 1 / np.arange(1, N_DIMS + 1)
    matrix = np.zeros((n, N_DIMS), np.float32)
    for row in matrix:
        dimensions = generator.choice(N_DIMS, n_active, replace=False, p=popularity / popularity.sum())
        row[dimensions] = generator.gamma(2.0, 0.4, n_active) + 0.01
    return csr_array(matrix)


def expected(queries: csr_array, corpus: csr_array, ids: list[str], top_k: int) -> list[list[tuple[str, float]]]:
    """Ids and scores of every query's best documents by the dense product in float64: score, then id."""
    scores = queries.toarray().astype(np.float64) @ corpus.toarray().astype(np.float64).T
    answers = []
    for row in scores:
        order = sorted(np.flatnonzero(row > 0), key=lambda i: (-row[i], ids[i]))
        answers.append([(ids[i], float(row[i])) for i in order[:top_k]])
    return answers


def query(*pairs: tuple[int, float]) -> SparseVector:
    return SparseVector(np.array([p[0] for p in pairs], np.int32), np.array([p[1] for p in pairs], np.float32))


def check_ranking(engine: Engine, *, tolerance: float, n: int = 200, n_queries: int = 30) -> None:
    """The same top 10 as the dense product; documents whose scores lie within the tolerance may change places."""
    corpus, queries = vectors(n), vectors(n_queries, seed=1, n_active=8)
    given = documents(n)
    engine.add(given, corpus)
    engine.finish()
    assert engine.count() == n
    full = expected(queries, corpus, [d.id for d in given], n)
    for vector, answer in zip(rows(queries), full, strict=True):
        hits = engine.search(vector, top_k=10)
        score_of = dict(answer)
        assert len(hits) == min(10, len(answer))
        for hit, (_, score) in zip(hits, answer, strict=False):
            assert abs(hit.score - score) <= tolerance * score
            assert abs(hit.score - score_of[hit.id]) <= tolerance * score
        assert [(-hit.score, hit.id) for hit in hits] == sorted((-hit.score, hit.id) for hit in hits)


def check_terms(engine: Engine, *, tolerance: float) -> None:
    """The terms of a hit add up to its score, heaviest first, and are the dimensions that both have."""
    corpus = vectors(30)
    engine.add(documents(30), corpus)
    engine.finish()
    (vector,) = rows(vectors(1, seed=2))
    hits = engine.search(vector, top_k=5, with_terms=True)
    assert hits
    for hit in hits:
        products = [term.product for term in hit.terms]
        assert products == sorted(products, reverse=True)
        assert abs(sum(products) - hit.score) <= tolerance * hit.score
        stored = corpus[[int(hit.id[1:])]].toarray()[0]
        assert {term.dimension for term in hit.terms} == set(vector.indices.tolist()) & set(
            np.flatnonzero(stored).tolist()
        )
        for term in hit.terms:
            assert abs(term.document_weight - stored[term.dimension]) <= tolerance * stored[term.dimension]
    assert engine.search(vector, top_k=5)[0].terms == ()


def check_changes(engine: Engine) -> None:
    """Adding twice is adding once; a known id is replaced; what is deleted is gone; what was kept comes back whole."""
    engine.add(documents(20), vectors(20))
    engine.add(documents(20), vectors(20))
    engine.finish()
    assert engine.count() == 20
    new = Document("d0003", "새 제목", "changed", {"lang": "ar"})
    engine.add([new], csr_array(np.eye(1, N_DIMS, N_DIMS - 1, dtype=np.float32) * 9))
    engine.finish()
    assert engine.count() == 20
    (hit,) = engine.search(query((N_DIMS - 1, 1.0)), top_k=1)
    assert (hit.id, hit.title, hit.text, hit.fields) == ("d0003", "새 제목", "changed", {"lang": "ar"})
    everything = query(*((i, 1.0) for i in range(N_DIMS)))
    assert {hit.id for hit in engine.search(everything, top_k=30)} == {d.id for d in documents(20)}
    assert not engine.search(everything, top_k=30, tags=["lang=ar", "open=false"])
    engine.delete(["d0003", "d0005", "nobody"])
    engine.finish()
    assert engine.count() == 18
    found = engine.search(everything, top_k=30)
    assert {hit.id for hit in found} == {d.id for d in documents(20)} - {"d0003", "d0005"}
    kept = {d.id: d for d in documents(20)}
    for hit in found:
        assert (hit.title, hit.text, hit.fields) == (kept[hit.id].title, kept[hit.id].text, dict(kept[hit.id].fields))


def check_filters(engine: Engine) -> None:
    """A filter keeps the documents that carry it: texts, numbers, truths, members of lists, and several at once."""
    engine.add(documents(60), vectors(60))
    engine.finish()
    everything = query(*((i, 1.0) for i in range(N_DIMS)))

    def numbers(*tags: str) -> set[int]:
        return {int(hit.id[1:]) for hit in engine.search(everything, top_k=60, tags=tags)}

    assert numbers("lang=zh") == {i for i in range(60) if i % 3 == 1}
    assert numbers("year=2003") == {i for i in range(60) if i % 5 == 3}
    assert numbers("open=true", "tags=b2") == {i for i in range(60) if i % 4 == 2}
    assert numbers("lang=zh", "year=2003", "tags=a") == {i for i in range(60) if i % 15 == 13}
    assert numbers("lang=en") == set()
    assert numbers('lang=zh" OR "1"="1') == set()


def check_odd_documents(engine: Engine) -> None:
    """A document without active dimensions is counted and never found; odd ids are ids; ties go by id."""
    odd = ["b.c/d e", "##학교", "a'; DROP TABLE x; --", "한" * 60, "B"]
    given = [Document(id_, "", "같은 글", {}) for id_ in odd] + [Document("empty", "", "", {})]
    matrix = np.zeros((6, N_DIMS), np.float32)
    matrix[:5, 7] = 0.5
    engine.add(given, csr_array(matrix))
    engine.finish()
    assert engine.count() == 6
    hits = engine.search(query((7, 2.0), (9, 1.0)), top_k=10)
    assert [hit.id for hit in hits] == sorted(odd)
    assert {hit.score for hit in hits} == {1.0}
    assert engine.search(query((9, 1.0)), top_k=10) == []
    engine.delete(odd)
    assert engine.count() == 1


LAWS = {
    "terms": lambda engine, tolerance: check_terms(engine, tolerance=tolerance),
    "ranking": lambda engine, tolerance: check_ranking(engine, tolerance=tolerance),
    "changes": lambda engine, _: check_changes(engine),
    "filters": lambda engine, _: check_filters(engine),
    "odd documents": lambda engine, _: check_odd_documents(engine),
}

"""Sends bodies that are refused, with `requests`: `refused.py ORIGIN [CERTIFICATE]`, the cases as JSON on stdin.

Every answer has to arrive, whatever the body's size, and a connection that stays open serves the next request."""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import requests

SIZES = [(0, 20), (100_000, 20), (1_000_000, 20), (10_000_000, 3), (40_000_000, 1)]
PATIENCE = 90


def main(origin, certificate=None):
    started, sent, wrong = time.monotonic(), 0, []
    verify = certificate or True

    def refuse(case, size, session):
        answer = session.request(
            case["method"], origin + case["path"], headers=case["headers"], data=b" " * size, timeout=60, verify=verify)
        said = answer.json()
        right = [413, case["status"]] if size > 32 << 20 else [case["status"]]
        assert answer.status_code in right and answer.status_code == said["status"], (answer.status_code, said)
        assert answer.headers["content-type"] == "application/problem+json", answer.headers

    def attempt(what, work):
        nonlocal sent
        sent += 1
        try:
            work()
        except Exception as error:  # noqa: BLE001
            wrong.append(f"{what}: {error!r}")

    cases = json.load(sys.stdin)
    for size, rounds in SIZES:
        for case in cases:
            for _ in range(rounds):
                if time.monotonic() - started < PATIENCE:
                    attempt(f"{case['status']} {size}", lambda: refuse(case, size, requests.Session()))

    def keep(number):
        """One connection, on which refused requests and others take turns."""
        session, case = requests.Session(), cases[number % len(cases)]
        for _ in range(25):
            for size in [10, 10_000, 200_000]:
                attempt(f"kept {case['status']} {size}", lambda: refuse(case, size, session))

                def next_one():
                    answer = session.get(origin + "/health", timeout=60, verify=verify)
                    assert answer.status_code == 200 and answer.json()["status"] == "ok", answer.text

                attempt(f"behind {case['status']} {size}", next_one)
        pools = [adapter.poolmanager.pools for adapter in session.adapters.values()]
        connections = sum(pool[key].num_connections for pool in pools for key in pool.keys())
        if connections != 1:
            wrong.append(f"kept {case['status']}: {connections} connections")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(keep, range(2 * len(cases))))
    print(f"{sent} sent, {len(wrong)} wrong", *wrong[:20], sep="\n")
    sys.exit(1 if wrong else 0)


main(*sys.argv[1:])

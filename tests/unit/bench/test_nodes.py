"""Simulated nodes send what was recorded of a real one."""

from __future__ import annotations

import asyncio
from contextlib import closing

from bench.nodes.recording import Repeated, repeated
from bench.nodes.simulated import SimulatedNode, packed
from testkit import loops

LINES = [
    b'1.1 [0 127.0.0.1:1] "EVALSHA" "abc" "1" "farm:node:real" "{\\"free\\": 2}" "\\xe2\\x82\\xac"\r\n',
    b'1.2 [0 lua] "HSET" "farm:node:real" "seen_at" "1"\r\n',
    b'1.3 [0 127.0.0.1:1] "EVALSHA" "def" "1" "farm:sweeper" "real"\r\n',
    b'1.4 [0 127.0.0.1:2] "BRPOP" "farm:build.a.0" "farm:build.real.node" "5"\r\n',
    b'2.0 [0 127.0.0.1:3] "EVALSHA" "def" "1" "farm:sweeper" "holder"\r\n',
    b'2.1 [0 127.0.0.1:1] "EVALSHA" "abc" "1" "farm:node:real" "{\\"free\\": 1}" "\\xe2\\x82\\xac"\r\n',
]


def test_a_recording_has_the_node_s_commands_by_kind_and_nothing_of_others():
    beat, lead, pop = repeated(LINES, "holder", 2)
    assert beat.per_second == 1
    assert [command[4] for command in beat.times] == [b'{"free": 2}', b'{"free": 1}']
    assert beat.times[0][5].decode() == "€"
    assert (lead.name, lead.per_second, len(lead.times)) == ("script of sweeper", 0.5, 1)
    assert pop.is_wait
    assert not beat.is_wait


def test_a_command_is_packed_as_redis_reads_it():
    assert packed([b"GET", "é".encode()]) == b"*2\r\n$3\r\nGET\r\n$2\r\n\xc3\xa9\r\n"


def test_a_simulated_node_pops_under_its_own_name_again_and_again_and_hands_messages_on():
    """Against a server that answers the first pop with nothing, and the second one with a message in two pieces."""
    asked, taken, served = [], [], []

    async def serve(reader, writer):
        served.append(asyncio.current_task())
        with closing(writer):
            await answer_pops(reader, writer)

    async def answer_pops(reader, writer):
        for answer in ([b"*-1\r\n"], [b"*2\r\n$1\r\nq\r\n$4\r\n", b'{"a"\r\n'], []):
            asked.append(await reader.readuntil(b"\r\n5\r\n"))
            for piece in answer:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.01)

    async def run():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        pop = Repeated(100, ((b"BRPOP", b"build.real.node", b"5"),))
        node = SimulatedNode([pop], ("real", "fake"), taken.append)
        await node.connect("127.0.0.1", server.sockets[0].getsockname()[1], 3)
        node.begin()
        async with asyncio.timeout(10):
            while len(asked) < 3:
                await asyncio.sleep(0.01)
        node.close()
        server.close()
        await asyncio.gather(*served, return_exceptions=True)  # connections without a pop end in the middle

    loops.run(run())
    assert taken == [b'{"a"']
    assert asked == [packed([b"BRPOP", b"build.fake.node", b"5"])] * 3

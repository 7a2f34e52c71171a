"""The scan of Mamba-2 as two Triton kernels, one forward and one backward (arXiv 2405.21060, section 6).

A program walks through one head of one image, chunk by chunk, and keeps the state in registers: what
`chunked_scan` does by a dozen operations, each through the device's memory, is one here. Tokens are numbered
in the order in which the state passes, so that a direction is nothing but where they are read and written.

This file imports triton, which comes with torch's CUDA builds for Linux and is never required: nothing
imports it but `triton_scan.py`, which is imported where a CUDA device asks.

Letters: B batch, L tokens, H heads, G groups of heads, P width of a head, N width of the state, Q tokens of a
chunk. P and N are filled up with zeros to powers of two, `WIDTH` and `STATE`.
"""
# ruff: noqa: N803, N806 -- the letters B and C are the paper's, and capitals are known when it is compiled

from __future__ import annotations

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def product(a, b, KIND: tl.constexpr):
    """Return the matrix product of a and b in float32, of factors as precise as KIND says.

    `exact`: float32; `tf32`: the ten bits of half precision, with float32's range; `bf16`; `rounded`: the
    same for the interpreter, which multiplies no bf16.
    """
    if KIND == "bf16":
        result = tl.dot(a.to(tl.bfloat16), b.to(tl.bfloat16))
    elif KIND == "rounded":
        a, b = a.to(tl.bfloat16).to(tl.float32), b.to(tl.bfloat16).to(tl.float32)
        result = tl.dot(a, b, input_precision="ieee")
    elif KIND == "tf32":
        result = tl.dot(a.to(tl.float32), b.to(tl.float32), input_precision="tf32")
    else:
        result = tl.dot(a, b, input_precision="ieee")
    return result


@triton.jit
def read(source, rows, there, width, WIDTH: tl.constexpr):
    """Return rows [Q] of a matrix of this width, [Q, WIDTH]; zeros for those that are not there."""
    column = tl.arange(0, WIDTH)
    inside = there[:, None] & (column < width)[None, :]
    return tl.load(source + rows[:, None] * width + column[None, :], mask=inside, other=0.0)


@triton.jit
def write(target, rows, there, width, values, WIDTH: tl.constexpr):
    """Write values [Q, WIDTH] into rows [Q] of a matrix of this width, those that are there."""
    column = tl.arange(0, WIDTH)
    inside = there[:, None] & (column < width)[None, :]
    tl.store(target + rows[:, None] * width + column[None, :], values, mask=inside)


@triton.jit
def read_numbers(source, rows, there):
    """Return a float64 for each row [Q]; zeros for those that are not there."""
    return tl.load(source + rows, mask=there, other=0.0).to(tl.float64)


@triton.jit
def whereabouts(heads, groups, ways):
    """Return image, head and group of this program, and whether it goes from the last token on."""
    program = tl.program_id(0)
    head = program % heads
    group = head // (heads // groups)
    return (program // heads).to(tl.int64), head, group, ((ways >> group) & 1) != 0


@triton.jit
def chunk_at(start, image, length, backward, CHUNK: tl.constexpr):
    """Return the number of each token of a chunk among those of all images, [Q], and whether it is there."""
    place = start + tl.arange(0, CHUNK)
    return image * length + tl.where(backward, length - 1 - place, place), place < length


@triton.jit
def split(log):
    """Return float64 logarithms as those to base 2, in float32, and what is left of them."""
    log2 = log * LOG2_E
    main = log2.to(tl.float32)
    return main, (log2 - main.to(tl.float64)).to(tl.float32)


@triton.jit
def power(log):
    """Return exp of float64 logarithms, as exact as float32 can be."""
    main, rest = split(log)
    return tl.exp2(main) * tl.exp2(rest)


@triton.jit
def triangle(c, taken, CHUNK: tl.constexpr):
    """Return exp(c_i - c_j) dt_j, [Q, Q], and 0 where j does not come first; taken is log dt_j - c_j."""
    read_main, read_rest = split(c)
    taken_main, taken_rest = split(taken)
    log2 = read_main[:, None] + taken_main[None, :]
    log2 += read_rest[:, None] + taken_rest[None, :]
    i = tl.arange(0, CHUNK)
    # Where j does not come first, it may be beyond any number.
    return tl.exp2(tl.where(i[None, :] < i[:, None], log2, float("-inf")))


@triton.jit(do_not_specialize=["ways"])
def forward_kernel(
    x,
    B,
    C,
    own,
    a,
    log_dt,
    y,
    states,
    length,
    heads,
    groups,
    ways,
    width,
    state_width,
    KEEP: tl.constexpr,
    CHUNK: tl.constexpr,
    WIDTH: tl.constexpr,
    STATE: tl.constexpr,
    KIND: tl.constexpr,
):
    """Write y [B, L, H, P] and, if KEEP, the states between chunks, [B, H, chunks - 1, N, P]; one head."""
    image, head, group, backward = whereabouts(heads, groups, ways)
    n = tl.arange(0, STATE)
    state_row = (image * heads + head) * ((length - 1) // CHUNK) * state_width + n
    state = tl.zeros((STATE, WIDTH), tl.float32)
    for start in range(0, length, CHUNK):
        token, there = chunk_at(start, image, length, backward, CHUNK)
        headed, grouped = token * heads + head, token * groups + group
        x_t = read(x, headed, there, width, WIDTH)
        B_t = read(B, grouped, there, state_width, STATE)
        C_t = read(C, grouped, there, state_width, STATE)
        a_t = read_numbers(a, headed, there)
        c = tl.cumsum(a_t, 0)
        taken = read_numbers(log_dt, headed, there) - c
        matrix = triangle(c, taken, CHUNK) * product(C_t, tl.trans(B_t), KIND)  # Q Q
        y_t = product(matrix, x_t, KIND)  # Q P
        y_t += tl.load(own + headed, mask=there, other=0.0)[:, None] * x_t.to(tl.float32)
        if start > 0:
            y_t += product(C_t, state, KIND) * power(c)[:, None]
        write(y, headed, there, width, y_t, WIDTH)
        if start + CHUNK < length:
            whole = tl.sum(a_t, 0)
            written = x_t.to(tl.float32) * power(taken + whole)[:, None]
            state = state * power(whole) + product(tl.trans(B_t), written, KIND)
            if KEEP:
                row = state_row + (start // CHUNK) * state_width
                write(states, row, n < state_width, width, state, WIDTH)


@triton.jit
def backward_inside(x, B, C, dy, strength, CHUNK: tl.constexpr, KIND: tl.constexpr):
    """Return what a chunk's triangle, without its diagonal, adds to the gradients of x, B, C and a.

    As `chunked_scan.backward_inside`: token k's decay is part of every weight from a token before k to k or
    one behind it, and just these terms are summed.
    """
    ties = product(C, tl.trans(B), KIND)  # Q Q
    terms = product(dy, tl.trans(x), KIND) * strength  # Q Q
    dB = product(tl.trans(terms), C, KIND)  # Q N
    dC = product(terms, B, KIND)  # Q N
    dx = product(tl.trans(strength * ties), dy, KIND)  # Q P
    i = tl.arange(0, CHUNK)
    before = (i[:, None] < i[None, :]).to(tl.float32)  # [j, k]: j before k
    reached = product(terms * ties, before, KIND)  # [i, k]: over all j before k
    da = tl.sum(tl.where(i[:, None] >= i[None, :], reached, 0.0), 0)  # Q, over all i not before k
    return dx, dB, dC, da.to(tl.float64)


@triton.jit
def by_state_behind(x, B, taken, dbehind, KIND: tl.constexpr):
    """Return what the state behind a chunk, of gradient dbehind [N, P], adds to those of x, B and a.

    Args:
        x: [Q, P], as the result.
        B: [Q, N].
        taken: log-weight of each token in that state, [Q].
        dbehind: gradient of the state.
        KIND: of products.
    """
    written = power(taken)[:, None]
    dx = product(B, dbehind, KIND) * written  # Q P
    dB = product(x.to(tl.float32) * written, tl.trans(dbehind), KIND)  # Q N
    terms = tl.sum(x.to(tl.float32) * dx, 1).to(tl.float64)
    return dx, dB, tl.cumsum(terms, 0) - terms  # over the tokens before each


@triton.jit
def by_state_before(C, dy, c, before, KIND: tl.constexpr):
    """Return what the state before a chunk, [N, P], adds to the gradients of C and a, and its own one."""
    dread = dy.to(tl.float32) * power(c)[:, None]  # Q P
    dC = product(dread, tl.trans(before), KIND)  # Q N
    terms = tl.sum(dread * product(C, before, KIND), 1).to(tl.float64)
    later = tl.sum(terms, 0) - (tl.cumsum(terms, 0) - terms)  # over each token and those behind it
    return dC, later, product(tl.trans(C), dread, KIND)


@triton.jit(do_not_specialize=["ways"])
def backward_kernel(
    x,
    B,
    C,
    own,
    a,
    log_dt,
    states,
    dy,
    dx,
    dB,
    dC,
    down,
    da,
    dlog_dt,
    length,
    heads,
    groups,
    ways,
    width,
    state_width,
    CHUNK: tl.constexpr,
    WIDTH: tl.constexpr,
    STATE: tl.constexpr,
    KIND: tl.constexpr,
):
    """Write the gradients of one head, given that of y; dB and dC are [B, L, H, N], one for each head."""
    image, head, group, backward = whereabouts(heads, groups, ways)
    n, between = tl.arange(0, STATE), (length - 1) // CHUNK
    state_row = (image * heads + head) * between * state_width + n
    dbehind = tl.zeros((STATE, WIDTH), tl.float32)  # of the state behind the chunk
    for chunk in range(0, between + 1):
        k = between - chunk
        token, there = chunk_at(k * CHUNK, image, length, backward, CHUNK)
        headed, grouped = token * heads + head, token * groups + group
        x_t, dy_t = read(x, headed, there, width, WIDTH), read(dy, headed, there, width, WIDTH)
        B_t = read(B, grouped, there, state_width, STATE)
        C_t = read(C, grouped, there, state_width, STATE)
        a_t = read_numbers(a, headed, there)
        c, whole = tl.cumsum(a_t, 0), tl.sum(a_t, 0)
        taken = read_numbers(log_dt, headed, there) - c
        strength = triangle(c, taken, CHUNK)
        dx_t, dB_t, dC_t, da_t = backward_inside(x_t, B_t, C_t, dy_t, strength, CHUNK, KIND)
        if chunk > 0:
            dx_b, dB_b, da_b = by_state_behind(x_t, B_t, taken + whole, dbehind, KIND)
            dx_t, dB_t, da_t = dx_t + dx_b, dB_t + dB_b, da_t + da_b
        if k > 0:
            before = read(states, state_row + (k - 1) * state_width, n < state_width, width, WIDTH)
            dC_b, da_b, dbefore = by_state_before(C_t, dy_t, c, before, KIND)
            passed = dbehind * power(whole)  # from the one to the other
            dC_t, da_t = dC_t + dC_b, da_t + da_b + tl.sum(tl.sum(passed * before, 1), 0).to(tl.float64)
            dbehind = dbefore + passed
        x_t, dy_t = x_t.to(tl.float32), dy_t.to(tl.float32)
        tl.store(dlog_dt + headed, tl.sum(x_t * dx_t, 1), mask=there)
        tl.store(down + headed, tl.sum(x_t * dy_t, 1), mask=there)
        tl.store(da + headed, da_t, mask=there)
        dx_t += tl.load(own + headed, mask=there, other=0.0)[:, None] * dy_t
        write(dx, headed, there, width, dx_t, WIDTH)
        write(dB, headed, there, state_width, dB_t, STATE)
        write(dC, headed, there, state_width, dC_t, STATE)

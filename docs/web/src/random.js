// Random numbers as torch's CPU generator draws them, so that a seed means here what it means there.
//
// torch.Generator is the Mersenne Twister of Matsumoto and Nishimura (1998), seeded with the lower
// 32 bits of the seed. On top of it, torch.randn of 16 numbers or more fills in uniform numbers and
// turns them into normal ones by Box and Muller, sixteen at a time; exponential_ takes 53 bits each.

const SIZE = 624;
const MIDDLE = 397;
const BLOCK = 16;

export class Generator {
  /** @param {number | bigint} seed a whole number, 0 or more */
  constructor(seed) {
    this.state = new Uint32Array(SIZE);
    this.state[0] = Number(BigInt(seed) & 0xffffffffn);
    for (let i = 1; i < SIZE; i++) {
      const last = this.state[i - 1] ^ (this.state[i - 1] >>> 30);
      this.state[i] = Math.imul(1812433253, last) + i;
    }
    this.next = SIZE;
  }

  /** A whole number of 32 random bits. */
  bits() {
    if (this.next === SIZE) this.#renew();
    let y = this.state[this.next++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  #renew() {
    const s = this.state;
    for (let i = 0; i < SIZE; i++) {
      const y = (s[i] & 0x80000000) | (s[(i + 1) % SIZE] & 0x7fffffff);
      s[i] = s[(i + MIDDLE) % SIZE] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.next = 0;
  }

  /** Uniform in [0, 1), as a float32 is drawn: 24 bits. */
  uniform() {
    return (this.bits() & 0xffffff) / 2 ** 24;
  }

  /** Exponential with mean 1, as `exponential_` draws a float32. */
  exponential() {
    const high = this.bits() & 0x1fffff;
    const uniform = (high * 2 ** 32 + this.bits()) / 2 ** 53;
    return Math.fround(-Math.log1p(-uniform));
  }

  /** What torch.randn gives for so many numbers, at least 16. */
  normal(length) {
    if (length < BLOCK) throw new RangeError(`torch draws fewer than ${BLOCK} numbers another way`);
    const drawn = Float32Array.from({ length }, () => this.uniform());
    for (let start = 0; start + BLOCK <= length; start += BLOCK) toNormal(drawn, start);
    if (length % BLOCK) {
      // The last sixteen are drawn again, whatever of them was done.
      for (let i = length - BLOCK; i < length; i++) drawn[i] = this.uniform();
      toNormal(drawn, length - BLOCK);
    }
    return drawn;
  }
}

function toNormal(drawn, start) {
  const half = BLOCK / 2;
  for (let i = start; i < start + half; i++) {
    const radius = Math.sqrt(-2 * Math.log(1 - drawn[i]));
    const angle = 2 * Math.PI * drawn[i + half];
    drawn[i] = radius * Math.cos(angle);
    drawn[i + half] = radius * Math.sin(angle);
  }
}

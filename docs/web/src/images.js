// Pixels to what the model reads, and back. Images are {width, height, data} with RGB bytes.
//
// Resizing is Pillow's bicubic one, to the byte: the same weights, rounded to 22 bits, columns after
// rows, with bytes between. (Pillow 13 begins with the columns where an image is more than about
// twice as high as wide; there a level may differ.)

const PRECISION = 2 ** 22;
const SUPPORT = 2;

/** Fit an image into a square: longer side to its size, the rest padded. */
export function fitSquare(image, { image_size: side, min_size: least, background }) {
  const longer = Math.max(image.width, image.height);
  const width = Math.max(Math.trunc((image.width / longer) * side), least);
  const height = Math.max(Math.trunc((image.height / longer) * side), least);
  const resized = resize(image, width, height);
  if (width === height) return resized;
  const size = Math.max(width, height);
  const square = { width: size, height: size, data: new Uint8Array(3 * size * size) };
  const [left, top] = [Math.floor((size - width) / 2), Math.floor((size - height) / 2)];
  for (let i = 0; i < size * size; i++) square.data.set(background, 3 * i);
  for (let y = 0; y < height; y++) {
    const row = resized.data.subarray(3 * y * width, 3 * (y + 1) * width);
    square.data.set(row, 3 * ((top + y) * size + left));
  }
  return square;
}

/** Pixel values as the tower reads them: channels, rows, columns. */
export function pixelValues(square, { rescale_factor: factor, mean, std }) {
  const area = square.width * square.height;
  const values = new Float32Array(3 * area);
  for (let c = 0; c < 3; c++) {
    const [m, s] = [Math.fround(mean[c]), Math.fround(std[c])];
    for (let i = 0; i < area; i++) {
      values[c * area + i] = Math.fround(Math.fround(square.data[3 * i + c] * factor) - m) / s;
    }
  }
  return values;
}

/** What the VAE decoded, channels first in [-1, 1], as an image. */
export function toImage(pixels, size) {
  const area = size * size;
  const data = new Uint8Array(3 * area);
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) {
      const clipped = Math.min(1, Math.max(-1, pixels[c * area + i]));
      data[3 * i + c] = toEven(Math.fround(Math.fround(Math.fround(clipped + 1) / 2) * 255));
    }
  }
  return { width: size, height: size, data };
}

/** Round halves to the even number, as torch does. */
function toEven(value) {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 ? below + 1 : below;
}

/** RGBA bytes, as a canvas gives them, as an image on white. */
export function fromRgba(width, height, rgba) {
  const data = new Uint8Array(3 * width * height);
  for (let i = 0; i < width * height; i++) {
    const alpha = rgba[4 * i + 3] / 255;
    for (let c = 0; c < 3; c++) {
      data[3 * i + c] = Math.round(rgba[4 * i + c] * alpha + 255 * (1 - alpha));
    }
  }
  return { width, height, data };
}

export function toRgba({ width, height, data }) {
  const rgba = new Uint8ClampedArray(4 * width * height).fill(255);
  for (let i = 0; i < width * height; i++) rgba.set(data.subarray(3 * i, 3 * i + 3), 4 * i);
  return rgba;
}

export function resize(image, width, height) {
  const across = width === image.width ? image : resizeRows(image, width);
  if (height === image.height) return across;
  return transposed(resizeRows(transposed(across), height));
}

/** Every row to another width. */
function resizeRows({ width, height, data }, newWidth) {
  const resized = new Uint8Array(3 * newWidth * height);
  for (const [x, { first, weights }] of filters(width, newWidth).entries()) {
    for (let y = 0; y < height; y++) {
      for (let c = 0; c < 3; c++) {
        let sum = PRECISION / 2;
        for (let k = 0; k < weights.length; k++) {
          sum += weights[k] * data[3 * (y * width + first + k) + c];
        }
        const level = Math.floor(sum / PRECISION);
        resized[3 * (y * newWidth + x) + c] = Math.min(255, Math.max(0, level));
      }
    }
  }
  return { width: newWidth, height, data: resized };
}

function transposed({ width, height, data }) {
  const turned = new Uint8Array(data.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++) {
        turned[3 * (x * height + y) + c] = data[3 * (y * width + x) + c];
      }
    }
  }
  return { width: height, height: width, data: turned };
}

/** For every new place, the first old one it is made of, and the weights from there. */
function filters(from, to) {
  const scale = from / to;
  const spread = Math.max(scale, 1);
  const reach = SUPPORT * spread;
  return Array.from({ length: to }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const last = Math.min(from, Math.trunc(centre + reach + 0.5));
    const weights = [];
    for (let at = first; at < last; at++) weights.push(bicubic((at - centre + 0.5) / spread));
    const total = weights.reduce((a, b) => a + b, 0);
    const scaled = weights.map((weight) => (weight / total) * PRECISION);
    return { first, weights: scaled.map((w) => Math.trunc(w < 0 ? w - 0.5 : w + 0.5)) };
  });
}

function bicubic(at) {
  const x = Math.abs(at);
  const a = -0.5;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

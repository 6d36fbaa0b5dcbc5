// RoIAlign, its gradient and non-maximum suppression as plain loops, one thread: the yardstick.
//
// Layouts as in Torch: features c h w, boxes n 4, bins n c p p.

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace {

// The four neighbours of a sample and what each contributes.
struct Sample {
  int place[4] = {0, 0, 0, 0};
  float weight[4] = {0, 0, 0, 0};
};

struct Neighbours {
  int low, high;
  float fraction;
};

Neighbours neighbours(float position, int cells) {
  position = std::max(position, 0.f);
  const int low = static_cast<int>(position);
  if (low >= cells - 1) return {cells - 1, cells - 1, 0.f};
  return {low, low + 1, position - low};
}

Sample sample(float y, float x, int h, int w) {
  Sample found;
  if (y < -1 || y > h || x < -1 || x > w) return found;
  const Neighbours r = neighbours(y, h), c = neighbours(x, w);
  const int rows[2] = {r.low, r.high}, columns[2] = {c.low, c.high};
  const float down[2] = {1 - r.fraction, r.fraction}, across[2] = {1 - c.fraction, c.fraction};
  for (int i = 0; i < 4; ++i) {
    found.place[i] = rows[i / 2] * w + columns[i % 2];
    found.weight[i] = down[i / 2] * across[i % 2];
  }
  return found;
}

// Samples of a box, bin by bin, the same for all channels.
void fill(std::vector<Sample>& samples, const float* box, int h, int w, float scale, int p, int s) {
  const float x1 = box[0] * scale, y1 = box[1] * scale;
  const float bin_w = std::max(box[2] * scale - x1, 1.f) / p;
  const float bin_h = std::max(box[3] * scale - y1, 1.f) / p;
  auto next = samples.begin();
  for (int i = 0; i < p; ++i)
    for (int j = 0; j < p; ++j)
      for (int a = 0; a < s; ++a)
        for (int b = 0; b < s; ++b)
          *next++ = sample(y1 + i * bin_h + (a + .5f) * bin_h / s,
                           x1 + j * bin_w + (b + .5f) * bin_w / s, h, w);
}

}  // namespace

extern "C" {

void roi_align(const float* features, int c, int h, int w, const float* boxes, int n, float scale,
               int p, int s, float* out) {
  std::vector<Sample> samples(p * p * s * s);
  for (int box = 0; box < n; ++box) {
    fill(samples, boxes + 4 * box, h, w, scale, p, s);
    for (int channel = 0; channel < c; ++channel) {
      const float* map = features + static_cast<size_t>(channel) * h * w;
      const Sample* next = samples.data();
      for (int bin = 0; bin < p * p; ++bin) {
        float sum = 0;
        for (int k = 0; k < s * s; ++k, ++next)
          for (int i = 0; i < 4; ++i) sum += next->weight[i] * map[next->place[i]];
        *out++ = sum / (s * s);
      }
    }
  }
}

void roi_align_gradient(const float* g, int c, int h, int w, const float* boxes, int n,
                        float scale, int p, int s, float* features) {
  std::vector<Sample> samples(p * p * s * s);
  for (int box = 0; box < n; ++box) {
    fill(samples, boxes + 4 * box, h, w, scale, p, s);
    for (int channel = 0; channel < c; ++channel) {
      float* map = features + static_cast<size_t>(channel) * h * w;
      const Sample* next = samples.data();
      for (int bin = 0; bin < p * p; ++bin) {
        const float share = *g++ / (s * s);
        for (int k = 0; k < s * s; ++k, ++next)
          for (int i = 0; i < 4; ++i) map[next->place[i]] += next->weight[i] * share;
      }
    }
  }
}

// Writes the indices that are kept, best first; returns how many.
int nms(const float* boxes, const float* scores, int n, double threshold, int* kept) {
  std::vector<int> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return scores[a] > scores[b]; });
  std::vector<float> area(n);
  for (int i = 0; i < n; ++i)
    area[i] = (boxes[4 * i + 2] - boxes[4 * i]) * (boxes[4 * i + 3] - boxes[4 * i + 1]);
  std::vector<char> struck(n, 0);
  int count = 0;
  for (int a = 0; a < n; ++a) {
    const int i = order[a];
    if (struck[i]) continue;
    kept[count++] = i;
    const float* x = boxes + 4 * i;
    for (int b = a + 1; b < n; ++b) {
      const int j = order[b];
      if (struck[j]) continue;
      const float* y = boxes + 4 * j;
      const float width = std::max(0.f, std::min(x[2], y[2]) - std::max(x[0], y[0]));
      const float height = std::max(0.f, std::min(x[3], y[3]) - std::max(x[1], y[1]));
      const float shared = width * height;
      if (shared / (area[i] + area[j] - shared) > threshold) struck[j] = 1;
    }
  }
  return count;
}
}

#pragma once
// A picture drawn with exact area coverage: a pixel takes the share of the colour that the shape covers of it.
#include <cstdint>
#include <span>
#include <vector>

namespace reel::worlds {

struct Point {
  double x = 0, y = 0;
};

/// Display-coded red, green, blue, 0 to 255. Shapes are composited on these values and rounded once, at the end.
struct Color {
  float r = 0, g = 0, b = 0;
};
inline Color operator*(Color a, Color b) { return {a.r * b.r, a.g * b.g, a.b * b.b}; }
inline Color mixed(Color a, Color b, float t) {
  return {a.r + (b.r - a.r) * t, a.g + (b.g - a.g) * t, a.b + (b.b - a.b) * t};
}

/// Canvas of width x height pixels; coordinates in pixels, x right, y down, (0, 0) the top left corner.
/// Use: add polygons, then fill. Polygons added before one fill share it: their covers add up, at most to 1.
class Canvas {
 public:
  Canvas(int width_px, int height_px);
  int width_px() const noexcept { return width_; }
  int height_px() const noexcept { return height_; }

  /// Adds a simple polygon, either orientation. Exact to rounding (double); parts outside the canvas are cut off.
  void add(std::span<const Point> polygon);
  /// Adds a disc as a regular polygon of 128 corners with the disc's exact area and centre; its rim strays from the
  /// circle by at most 0.0003 of the radius.
  void add_disc(Point center, double radius_px) { add_ellipse(center, radius_px, radius_px); }
  void add_ellipse(Point center, double radius_x_px, double radius_y_px);
  /// Paints what was added and forgets it.
  void fill(Color color, float opacity = 1);

  /// One colour everywhere.
  void clear(Color color);
  /// One colour for a whole row of pixels.
  void set_row(int y, Color color);

  /// Rounds the picture to bytes, [H, W, 3].
  void store(std::uint8_t* rgb) const;
  /// As `store`, only where something was filled since the last `restore`.
  void store_changed(std::uint8_t* rgb) const;
  /// Puts back the picture `background` where something was filled since the last `restore`.
  void restore(const Canvas& background);

 private:
  struct Box {
    int x0, y0, x1, y1;
  };
  void edge(Point a, Point b, double sign);
  void store_box(std::uint8_t* rgb, Box box) const;
  Box whole() const { return {0, 0, width_, height_}; }
  Box none() const { return {width_, height_, 0, 0}; }

  int width_, height_;
  std::vector<float> rgb_;
  std::vector<double> cover_;  ///< per row: change of cover from one pixel to the next
  Box path_, changed_;
  std::vector<Point> cut_, cut_next_;
};

}  // namespace reel::worlds

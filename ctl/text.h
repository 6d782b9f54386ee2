#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// Text for a terminal: pure functions.
namespace refork::ctl {

// How and when something is shown.
struct View {
  std::size_t width = 80;  // columns; 0: as wide as it wants to be
  bool color = false;
  std::uint64_t now_ms = 0;  // Unix time
};

enum class Color {
  none,
  bold,
  dim,
  red,
  green,
  yellow
};
std::string paint(std::string_view text, Color color, const View& view);

// Untrusted text in one line that cannot drive a terminal: control characters, bytes that are no UTF-8 and
// marks that turn the direction of writing become "\n", "\x1b", "\u{202e}".
std::string escape(std::string_view text);
// Columns that escaped text takes.
std::size_t columns(std::string_view text);
// At most `width` columns, what is longer ends in an ellipsis. 0: uncut.
std::string fit(std::string_view text, std::size_t width);

std::string humane_duration(std::uint64_t ms);   // "250ms", "45s", "3m12s", "2h05m", "3d04h"
std::string humane_bytes(std::uint64_t bytes);   // "512B", "8.1M"
std::string humane_time(std::uint64_t unix_ms);  // "2026-11-22 10:04:05", local time
std::string count_of(std::uint64_t count, std::string_view singular);  // "1 failure", "2 failures"

struct Cell {
  std::string text;
  Color color = Color::none;
};
struct Column {
  std::string title;
  bool right = false;  // aligned
  bool whole = false;  // never cut: somebody will copy it
};

// Rows under their titles. Where they are too wide, the last column is cut first, then the longest ones;
// those to be copied only when there is nothing else.
class Table {
 public:
  Table(std::vector<Column> columns, std::string indent)
      : columns_(std::move(columns)), indent_(std::move(indent)) {}
  void add(std::vector<Cell> row);
  std::string text(const View& view) const;
  // What is taken by all columns but the last one, uncut, and the gap before that.
  std::size_t columns_before_last() const;

 private:
  std::vector<std::size_t> widths(std::size_t available) const;
  std::string line(const std::vector<Cell>& row, const std::vector<std::size_t>& widths,
                   const View& view) const;

  std::vector<Column> columns_;
  std::string indent_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace refork::ctl

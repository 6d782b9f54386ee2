// Text for a terminal: what it may contain, how wide it is, how quantities and tables are written. Pure.
#include "ctl/text.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <iterator>
#include <numeric>
#include <utility>

#include "base/utf8.h"

namespace refork::ctl {

namespace {

constexpr std::string_view ellipsis = "…";
constexpr std::size_t gap = 2;        // columns between two columns of a table
constexpr std::size_t narrowest = 5;  // the last column is not cut to less before the others are

template <class... Args>
std::string format(const char* pattern, Args... args) {
  std::array<char, 64> buffer{};
  const int written = std::snprintf(buffer.data(), buffer.size(), pattern, args...);
  return {buffer.data(),
          static_cast<std::size_t>(std::clamp(written, 0, static_cast<int>(buffer.size()) - 1))};
}

// The code point of a sequence that base::utf8_sequence() found valid.
char32_t decode(std::string_view sequence) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(sequence[i]); };
  if (sequence.size() == 1) return byte(0);
  char32_t point = byte(0) & (0xffu >> (sequence.size() + 1));
  for (std::size_t i = 1; i < sequence.size(); ++i) point = (point << 6) | (byte(i) & 0x3fu);
  return point;
}

struct Range {
  char32_t first, last;
};
bool in(char32_t point, std::initializer_list<Range> ranges) {
  return std::ranges::any_of(ranges, [&](Range r) { return point >= r.first && point <= r.last; });
}

bool is_harmful(char32_t point) {
  return in(point, {{0, 0x1f},
                    {0x7f, 0x9f},
                    {0x61c, 0x61c},
                    {0x200b, 0x200f},
                    {0x2028, 0x202e},
                    {0x2060, 0x206f},
                    {0xfeff, 0xfeff}});
}
std::size_t columns_of(char32_t point) {
  if (in(point, {{0x300, 0x36f}, {0x1ab0, 0x1aff}, {0x20d0, 0x20ff}, {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}}))
    return 0;
  return in(point, {{0x1100, 0x115f},
                    {0x2e80, 0xa4cf},
                    {0xac00, 0xd7a3},
                    {0xf900, 0xfaff},
                    {0xfe30, 0xfe6f},
                    {0xff00, 0xff60},
                    {0xffe0, 0xffe6},
                    {0x1f300, 0x1faff},
                    {0x20000, 0x3fffd}})
             ? 2
             : 1;
}

std::string escaped(char32_t point) {
  if (point == '\n') return "\\n";
  if (point == '\t') return "\\t";
  if (point == '\r') return "\\r";
  return point < 0x80 ? format("\\x%02x", static_cast<unsigned>(point))
                      : format("\\u{%x}", static_cast<unsigned>(point));
}

// Calls each(sequence) for every sequence of the text, a stray byte being one of its own.
template <class Each>
void for_each_sequence(std::string_view text, Each&& each) {
  while (!text.empty()) {
    const std::size_t length = base::utf8_sequence(text);
    each(text.substr(0, std::max<std::size_t>(length, 1)), length != 0);
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
}

}  // namespace

std::string paint(std::string_view text, Color color, const View& view) {
  static constexpr std::array<const char*, 6> codes = {"",         "\033[1m",  "\033[2m",
                                                       "\033[31m", "\033[32m", "\033[33m"};
  if (!view.color || color == Color::none || text.empty()) return std::string(text);
  return codes[static_cast<std::size_t>(color)] + std::string(text) + "\033[0m";
}

std::string escape(std::string_view text) {
  std::string out;
  for_each_sequence(text, [&](std::string_view sequence, bool valid) {
    if (!valid)
      out += format("\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(sequence[0])));
    else if (const char32_t point = decode(sequence); is_harmful(point))
      out += escaped(point);
    else
      out += sequence;
  });
  return out;
}

std::size_t columns(std::string_view text) {
  std::size_t sum = 0;
  for_each_sequence(
      text, [&](std::string_view sequence, bool valid) { sum += valid ? columns_of(decode(sequence)) : 1; });
  return sum;
}

std::string fit(std::string_view text, std::size_t width) {
  if (width == 0 || columns(text) <= width) return std::string(text);
  std::string out;
  std::size_t used = 0;
  bool full = false;
  for_each_sequence(text, [&](std::string_view sequence, bool valid) {
    const std::size_t more = valid ? columns_of(decode(sequence)) : 1;
    full = full || used + more > width - 1;
    if (full) return;
    out += sequence;
    used += more;
  });
  return out + std::string(ellipsis);
}

std::string humane_duration(std::uint64_t ms) {
  using Number = unsigned long long;
  const Number seconds = ms / 1000, minutes = seconds / 60, hours = minutes / 60;
  if (ms < 1000) return format("%llums", static_cast<Number>(ms));
  if (seconds < 60) return format("%llus", seconds);
  if (minutes < 60) return format("%llum%02llus", minutes, seconds % 60);
  if (hours < 24) return format("%lluh%02llum", hours, minutes % 60);
  return format("%llud%02lluh", hours / 24, hours % 24);
}

std::string humane_bytes(std::uint64_t bytes) {
  static constexpr std::array<char, 4> units = {'K', 'M', 'G', 'T'};
  if (bytes < 1024) return std::to_string(bytes) + "B";
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  while (value >= 999.95 && unit + 1 < units.size()) {
    value /= 1024;
    ++unit;
  }
  return format("%.1f%c", value, units[unit]);
}

std::string humane_time(std::uint64_t unix_ms) {
  const auto seconds = static_cast<std::time_t>(unix_ms / 1000);
  std::tm parts{};
  std::array<char, 32> buffer{};
  if (!::localtime_r(&seconds, &parts)) return "-";
  return {buffer.data(), std::strftime(buffer.data(), buffer.size(), "%Y-%m-%d %H:%M:%S", &parts)};
}

std::string count_of(std::uint64_t count, std::string_view singular) {
  return std::to_string(count) + " " + std::string(singular) + (count == 1 ? "" : "s");
}

void Table::add(std::vector<Cell> row) {
  row.resize(columns_.size());
  rows_.push_back(std::move(row));
}

std::vector<std::size_t> Table::widths(std::size_t available) const {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    widths.push_back(columns(columns_[i].title));
    for (const auto& row : rows_) widths[i] = std::max(widths[i], columns(row[i].text));
  }
  if (available == 0) return widths;
  const auto total = [&] {
    return std::accumulate(widths.begin(), widths.end(), indent_.size() + gap * (widths.size() - 1));
  };
  if (const std::size_t wanted = total(); wanted > available) {
    const std::size_t least = std::max(narrowest, columns(columns_.back().title));
    const std::size_t spare = widths.back() > least ? widths.back() - least : 0;
    widths.back() -= std::min(spare, wanted - available);
  }
  for (const bool whole : {false, true}) {
    while (total() > available) {
      std::size_t longest = widths.size();
      for (std::size_t i = 0; i < widths.size(); ++i)
        if (columns_[i].whole == whole && (longest == widths.size() || widths[i] > widths[longest]))
          longest = i;
      if (longest == widths.size() || widths[longest] <= 1) break;
      --widths[longest];
    }
  }
  return widths;
}

std::size_t Table::columns_before_last() const {
  const auto all = widths(0);
  return std::accumulate(all.begin(), all.end() - 1, indent_.size() + gap * (all.size() - 1));
}

std::string Table::line(const std::vector<Cell>& row, const std::vector<std::size_t>& widths,
                        const View& view) const {
  std::string out = indent_;
  std::size_t owed = 0;  // spaces, written only when something follows
  for (std::size_t i = 0; i < row.size(); ++i) {
    const std::string text = fit(row[i].text, widths[i]);
    const std::size_t padding = widths[i] - std::min(widths[i], columns(text));
    if (columns_[i].right) owed += padding;
    if (!text.empty()) {
      out += std::string(owed, ' ') + paint(text, row[i].color, view);
      owed = 0;
    }
    owed += (columns_[i].right ? 0 : padding) + gap;
  }
  return out + "\n";
}

std::string Table::text(const View& view) const {
  const auto fitting = widths(view.width);
  std::vector<Cell> titles;
  for (const auto& column : columns_) titles.push_back({column.title, Color::dim});
  std::string out = line(titles, fitting, view);
  for (const auto& row : rows_) out += line(row, fitting, view);
  return out;
}

}  // namespace refork::ctl

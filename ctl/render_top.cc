// Which failures happen most: one line a fingerprint.
#include <string>

#include "ctl/render.h"

namespace refork::ctl {

namespace {

std::string error_of(const FailureGroup& group) {
  std::string text = escape(group.type);
  if (text.empty()) text = escape(group.kind);
  return group.message.empty() ? text : text + ": " + escape(group.message);
}

std::string services_of(const FailureGroup& group) {
  std::string text;
  for (const auto& service : group.services) text += (text.empty() ? "" : ",") + escape(service);
  return text;
}

std::string basename_of(const std::string& path) { return escape(path.substr(path.rfind('/') + 1)); }

// In a narrow table file and line say more than the beginning of a long name.
std::string where_of(const FailureGroup& group, bool whole) {
  if (!group.where) return "-";
  Frame frame = *group.where;
  if (whole) return render_place(frame);
  if (!frame.file.empty()) return basename_of(frame.file) + ":" + std::to_string(frame.line);
  if (frame.module.empty()) return render_place(frame);
  frame.function.clear();
  frame.module = frame.module.substr(frame.module.rfind('/') + 1);
  return render_place(frame);
}

Table table_of(const std::vector<FailureGroup>& groups, const View& view, bool first_seen, bool id) {
  std::vector<Column> columns = {{"COUNT", true}, {"LAST SEEN"}};
  if (first_seen) columns.push_back({"FIRST SEEN"});
  columns.push_back({"SERVICES"});
  if (id) columns.push_back({"NEWEST ID", false, true});
  columns.insert(columns.end(), {{"WHERE", false, true}, {"ERROR"}});
  Table table(std::move(columns), "");
  for (const auto& group : groups) {
    std::vector<Cell> row = {{std::to_string(group.count), Color::bold},
                             {humane_time(group.last_ms).substr(first_seen ? 0 : 5), Color::dim}};
    if (first_seen) row.push_back({humane_time(group.first_ms), Color::dim});
    row.push_back({services_of(group)});
    if (id) row.push_back({escape(group.id)});
    row.insert(row.end(), {{where_of(group, view.width == 0)}, {error_of(group), Color::red}});
    table.add(std::move(row));
  }
  return table;
}

}  // namespace

// The count, the place and the error are what one looks for; where there is too little room for the error,
// the time of the first one goes, and then the id.
std::string render_top(const std::vector<FailureGroup>& groups, const View& view) {
  constexpr std::size_t for_error = 30;  // columns
  if (groups.empty()) return "No failures.\n";
  const auto has_room = [&](const Table& table) {
    return view.width == 0 || table.columns_before_last() + for_error <= view.width;
  };
  if (const auto all = table_of(groups, view, true, true); has_room(all)) return all.text(view);
  if (const auto one_time = table_of(groups, view, false, true); has_room(one_time))
    return one_time.text(view);
  return table_of(groups, view, false, false).text(view);
}

}  // namespace refork::ctl

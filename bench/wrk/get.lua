-- GET one of the paths in a file, at random. A line is a path, or a path, a tab and an ETag for If-None-Match.
-- Arguments: the file, and a seed.
dofile(os.getenv("BENCH_SCRIPTS") .. "/report.lua")

local requests = {}

function init(args)
  math.randomseed(tonumber(args[2]))
  for _, line in ipairs(lines_of(args[1])) do
    local path, etag = line:match("^([^\t]+)\t?(.*)$")
    requests[#requests + 1] = wrk.format("GET", path, etag ~= "" and { ["If-None-Match"] = etag } or {})
  end
end

function request()
  return requests[math.random(#requests)]
end

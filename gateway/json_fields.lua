-- Finds what a JSON body has that its message does not know, which the transcoder ignores in silence, and values of a
-- wrong JSON type, whose field it does not name.
--
-- Needs TYPES, which is generated from the descriptors: TYPES[message][field] = kind, with each field by its JSON name and its
-- proto name. A kind is the full name of a message, {map = kind of the values}, {list = kind of the elements}, "string",
-- "boolean", "number" (a string may stand for it; enums too), or false where anything may stand (Value, Any).

local DEPTH = 100 -- as deep as protobuf's own parsers go
local SHOWN = 80 -- bytes of a caller's name in a message

local find, sub, byte, gsub = string.find, string.sub, string.byte, string.gsub
local QUOTE, COMMA, COLON, OPEN_ARRAY, CLOSE_ARRAY, OPEN_OBJECT, CLOSE_OBJECT = 34, 44, 58, 91, 93, 123, 125

-- Where the walk stands: trail[depth] is the name or the number (from 0) of the element at this depth.
local trail = {}

local function shown(text)
  return (gsub(sub(text, 1, SHOWN), '[^\32-\126]', "?"))
end

local function path(depth)
  local text = ""
  for level = 1, depth do
    local step = trail[level]
    if type(step) == "number" then
      text = text .. "[" .. step .. "]"
    else
      text = text .. (text == "" and "" or ".") .. shown(step)
    end
  end
  return text
end

-- Ends the walk. `field`: the path of what is refused, empty where the body is no JSON.
local function refuse(field, description)
  error({field = field, description = description}, 0)
end

local function malformed(what, position)
  refuse("", "is no JSON: " .. what .. " at byte " .. position)
end

local function skip_space(body, position)
  return find(body, "[^ \t\r\n]", position) or #body + 1
end

-- From the opening quote to the byte after the closing one.
local function skip_string(body, position)
  local from = position + 1
  while true do
    local special = find(body, '["\\]', from)
    if not special then malformed("a string without end", position) end
    if byte(body, special) == QUOTE then return special + 1 end
    from = special + 2
  end
end

local ESCAPES = {b = "\b", f = "\f", n = "\n", r = "\r", t = "\t"}

-- A name as it is meant: written with escapes it is the same name. Names of fields are ASCII, so others need not be exact.
local function unescaped(name)
  if not find(name, "\\", 1, true) then return name end
  return (gsub(name, "\\(.)(%x?%x?%x?%x?)", function(kind, digits)
    if kind == "u" and #digits == 4 then
      local code = tonumber(digits, 16)
      return code < 128 and string.char(code) or "?"
    end
    return (ESCAPES[kind] or kind) .. digits
  end))
end

-- The known name that differs from `name` in case and underscores only, as the proto writes it.
local function alike(fields, name)
  local wanted = gsub(string.lower(name), "_", "")
  for known in pairs(fields) do
    if known == string.lower(known) and gsub(known, "_", "") == wanted then return known end
  end
  return nil
end

local function unknown_field(kind, name, depth)
  trail[depth] = name
  local meant = alike(TYPES[kind], name)
  refuse(path(depth), "is not a field of " .. kind .. (meant and ": did you mean " .. meant .. "?" or ""))
end

local ARTICLES = {string = "a string", number = "a number", boolean = "true or false", object = "an object", array = "an array"}

-- Refuses a value of JSON type `given` where `kind` has another one.
local function check_type(given, kind, depth)
  local wanted = kind
  if type(kind) == "table" then
    wanted = kind.list ~= nil and "array" or "object"
  elseif kind and TYPES[kind] then
    wanted = "object"
  end
  if not wanted or wanted == given or (wanted == "number" and given == "string") then return end
  refuse(path(depth), "must be " .. ARTICLES[wanted] .. ", not " .. ARTICLES[given])
end

local skip_value

local function skip_object(body, position, kind, depth)
  local fields = type(kind) == "string" and TYPES[kind] or nil
  local of_map = type(kind) == "table" and kind.map or false
  position = skip_space(body, position + 1)
  if byte(body, position) == CLOSE_OBJECT then return position + 1 end
  while true do
    if byte(body, position) ~= QUOTE then malformed("no name", position) end
    local after = skip_string(body, position)
    local name = unescaped(sub(body, position + 1, after - 2))
    local inner = of_map
    if fields then
      inner = fields[name]
      if inner == nil then unknown_field(kind, name, depth) end
    end
    trail[depth] = name
    position = skip_space(body, after)
    if byte(body, position) ~= COLON then malformed("no ':'", position) end
    position = skip_space(body, skip_value(body, position + 1, inner, depth))
    local next_one = byte(body, position)
    if next_one == CLOSE_OBJECT then return position + 1 end
    if next_one ~= COMMA then malformed("no ',' or '}'", position) end
    position = skip_space(body, position + 1)
  end
end

local function skip_array(body, position, kind, depth)
  local element = kind and kind.list
  position = skip_space(body, position + 1)
  if byte(body, position) == CLOSE_ARRAY then return position + 1 end
  local number = 0
  while true do
    trail[depth] = number
    position = skip_space(body, skip_value(body, position, element, depth))
    local next_one = byte(body, position)
    if next_one == CLOSE_ARRAY then return position + 1 end
    if next_one ~= COMMA then malformed("no ',' or ']'", position) end
    position, number = position + 1, number + 1
  end
end

-- The byte after the word at `position`. Null may stand anywhere: it is the field's absence.
local function skip_word(body, position, kind, depth)
  local _, last = find(body, "^[%w+%-.]+", position)
  if not last then malformed("no value", position) end
  local word = sub(body, position, last)
  if word == "true" or word == "false" then
    check_type("boolean", kind, depth)
  elseif find(word, "^%-?%d") then
    check_type("number", kind, depth)
  elseif word ~= "null" then
    malformed("no value", position)
  end
  return last + 1
end

-- The byte after the value at `position`. What its type cannot hold is the transcoder's to judge.
function skip_value(body, position, kind, depth)
  if depth > DEPTH then refuse(path(20), "is nested deeper than " .. DEPTH) end
  position = skip_space(body, position)
  local first = byte(body, position)
  if first == QUOTE then
    check_type("string", kind, depth)
    return skip_string(body, position)
  elseif first == OPEN_OBJECT then
    check_type("object", kind, depth)
    return skip_object(body, position, kind, depth + 1)
  elseif first == OPEN_ARRAY then
    check_type("array", kind, depth)
    return skip_array(body, position, kind, depth + 1)
  end
  return skip_word(body, position, kind, depth)
end

-- nil, or {field, description} of the first thing to refuse in a body of this kind.
local function fault_of(body, kind)
  local fine, why = pcall(function()
    local rest = skip_space(body, skip_value(body, 1, kind, 0))
    if rest <= #body then malformed("more than one value", rest) end
  end)
  if fine then return nil end
  if type(why) == "table" then return why end
  error(why, 0)
end

// The web app in a real browser against the real server: one person's first days, in order.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { begin, end, world } from "./world.mjs";
import { firstStart } from "./first-start.mjs";
import { chat } from "./chat.mjs";
import { message } from "./message.mjs";
import { attaching } from "./attaching.mjs";
import { answering } from "./answering.mjs";
import { waiting } from "./waiting.mjs";
import { account } from "./account.mjs";
import { administration } from "./administration.mjs";
import { models } from "./models.mjs";
import { instructions } from "./instructions.mjs";
import { elsewhere } from "./elsewhere.mjs";
import { trouble } from "./trouble.mjs";
import { screens } from "./screens.mjs";
import { reference } from "./reference.mjs";

before(begin);
after(end);

describe("the web app", () => {
  for (const tests of [firstStart, answering, waiting, chat, message, attaching, account, administration, models, instructions, elsewhere, trouble, screens, reference]) tests();

  test("nothing left the server, and no policy was broken", () => {
    assert.deepEqual(world.problems, []);
  });
});

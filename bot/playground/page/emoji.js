// Emoji characters by the shortcodes of people and templates.

const NAMES = `
+1 👍|thumbsup 👍|-1 👎|thumbsdown 👎|wave 👋|clap 👏|raised_hands 🙌|pray 🙏|raised_hand ✋|raised_back_of_hand 🤚|muscle 💪|ok_hand 👌|eyes 👀|point_right 👉|point_up ☝️
|smile 😄|slightly_smiling_face 🙂|grinning 😀|joy 😂|wink 😉|blush 😊|thinking_face 🤔|neutral_face 😐|disappointed 😞|cry 😢|sob 😭
|tada 🎉|sparkles ✨|star ⭐|fire 🔥|rocket 🚀|zap ⚡|boom 💥|100 💯|trophy 🏆|medal 🏅|gift 🎁|ticket 🎫|admission_tickets 🎟️|label 🏷️
|white_check_mark ✅|heavy_check_mark ✔️|ballot_box_with_check ☑️|x ❌|no_entry ⛔|no_entry_sign 🚫|warning ⚠️|question ❓|exclamation ❗
|information_source ℹ️|bulb 💡|memo 📝|pencil ✏️|pencil2 ✏️|clipboard 📋|page_facing_up 📄|file_folder 📁|paperclip 📎|pushpin 📌
|bar_chart 📊|chart_with_upwards_trend 📈|chart_with_downwards_trend 📉|mag 🔍|mag_right 🔎|telephone_receiver 📞|lock 🔒|unlock 🔓|key 🔑|bell 🔔|no_bell 🔕|mega 📣|loudspeaker 📢
|calendar 📅|date 📅|spiral_calendar_pad 🗓️|clock1 🕐|clock9 🕘|hourglass ⌛|grey_question ❔|hourglass_flowing_sand ⏳|stopwatch ⏱️|alarm_clock ⏰|watch ⌚|double_vertical_bar ⏸️|arrow_forward ▶️
|moneybag 💰|dollar 💵|money_with_wings 💸|credit_card 💳|shopping_trolley 🛒|shopping_bags 🛍️|package 📦|wastebasket 🗑️|house 🏠|convenience_store 🏪
|red_circle 🔴|large_orange_circle 🟠|large_yellow_circle 🟡|large_green_circle 🟢|large_blue_circle 🔵|white_circle ⚪|black_circle ⚫
|large_orange_diamond 🔶|small_blue_diamond 🔹|small_red_triangle 🔺|small_red_triangle_down 🔻|arrow_up ⬆️|arrow_down ⬇️|arrow_right ➡️|arrow_left ⬅️
|arrow_upper_right ↗️|arrow_lower_right ↘️|repeat 🔁|arrows_counterclockwise 🔄|leftwards_arrow_with_hook ↩️|rewind ⏪|fast_forward ⏩
|gear ⚙️|wrench 🔧|hammer_and_wrench 🛠️|robot_face 🤖|brain 🧠|microscope 🔬|test_tube 🧪|dart 🎯|game_die 🎲|crystal_ball 🔮|seedling 🌱
|octagonal_sign 🛑|rotating_light 🚨|construction 🚧|triangular_flag_on_post 🚩|checkered_flag 🏁|speech_balloon 💬|thought_balloon 💭
|email 📧|envelope ✉️|incoming_envelope 📨|inbox_tray 📥|outbox_tray 📤|link 🔗|busts_in_silhouette 👥|handshake 🤝|round_pushpin 📍|new 🆕|bust_in_silhouette 👤
|heart ❤️|broken_heart 💔|green_heart 💚|blue_heart 💙|yellow_heart 💛|coffee ☕|sunny ☀️|cloud ☁️|umbrella ☔|snowflake ❄️|zzz 💤
|one 1️⃣|two 2️⃣|three 3️⃣|four 4️⃣|five 5️⃣|black_small_square ▪️|white_small_square ▫️|heavy_minus_sign ➖|heavy_plus_sign ➕
|scales ⚖️|balance_scale ⚖️|compass 🧭|world_map 🗺️|books 📚|notebook 📓|abacus 🧮|triangular_ruler 📐|straight_ruler 📏|scissors ✂️
`;

export const EMOJI = new Map(
  NAMES.replaceAll("\n", "").split("|").map((pair) => pair.trim().split(" ")).filter((pair) => pair.length === 2),
);
